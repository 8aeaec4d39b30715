"""The site's style sheet: the report's, and what a matrix needs."""

from __future__ import annotations

from typing import Final

from converter.report_page.style import STYLE as REPORT

STYLE: Final = (
    REPORT
    + """
:root { --warn: #7a5000; --info: #2c5f8a; --worse: #a8380a; --quiet: #545b64; --tint: 10%; }
@media (prefers-color-scheme: dark) {
  :root { --warn: #f5c451; --info: #8ec1ee; --worse: #fdba74; --quiet: #b3bac3; --tint: 16%; }
}
a { color: var(--info); }
:is(a, input, select, button, summary):focus-visible {
  outline: 2px solid var(--info); outline-offset: 2px;
}
header p { margin: .25rem 0; }
.P { --state: color-mix(in srgb, var(--good) 85%, var(--ink)); } .W { --state: var(--warn); }
.R { --state: var(--worse); } .F { --state: var(--bad); } .E { --state: var(--quiet); }
.s {
  display: inline-flex; align-items: center; gap: .35rem; padding: .1rem .55rem; border-radius: .4rem;
  color: var(--state); background: color-mix(in srgb, var(--state) var(--tint), transparent);
  text-decoration: none; font-weight: 600; white-space: nowrap;
}
a.s:hover { outline: 1px solid var(--state); }
.counts, .tools { display: flex; flex-wrap: wrap; gap: .5rem; margin: .75rem 0; align-items: center; }
.banner {
  margin: .75rem 0; padding: .6rem .8rem; border-left: .3rem solid var(--state);
  background: var(--card);
}
.banner p { margin: 0; }
.tools input, .tools select, .tools button {
  font: inherit; color: inherit; background: var(--card); border: 1px solid var(--rule);
  border-radius: .4rem; padding: .4rem .6rem; min-height: 2.5rem;
}
.tools input { flex: 1 1 14rem; min-width: 0; }
.tools button:disabled { opacity: .45; }
.matrix { width: 100%; }
.matrix th, .matrix td { vertical-align: middle; padding: .3rem .8rem .3rem 0; }
.matrix thead th { vertical-align: bottom; font-weight: 600; }
.matrix thead small { display: block; font-weight: 400; color: var(--faint); white-space: nowrap; }
.matrix tbody th { font-weight: 500; max-width: 22rem; overflow-wrap: anywhere; }
.matrix .label { display: none; }
.tag { color: var(--faint); font-size: .8rem; margin-left: .4rem; font-weight: 400; }
.findings { padding-left: 0; list-style: none; }
.findings li { padding: .3rem 0; border-bottom: 1px solid var(--rule); }
.facts th { font-weight: 400; color: var(--faint); white-space: nowrap; }
.facts td { overflow-wrap: anywhere; min-width: 8rem; }
.wide table:not(.facts) :is(th, td) { white-space: nowrap; }
.wide .matrix tbody th { white-space: normal; }
.cell { border-top: 2px solid var(--rule); margin-top: 2rem; }
.cell h2 { display: flex; flex-wrap: wrap; gap: .75rem; align-items: center; margin-top: 1rem; }
.bar { height: .8rem; background: var(--source); border-radius: .2rem; min-width: 1px; }
.stages td:last-child { width: 60%; min-width: 6rem; vertical-align: middle; }
.stages { width: 100%; max-width: 36rem; }
.sparks {
  display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr));
}
.sparks figure svg { max-width: none; }
.spark { fill: none; stroke: var(--result); stroke-width: 1.5; }
.dot { fill: var(--result); }
.mark { stroke-width: 1.8; fill: none; stroke: var(--state); }
.none { stroke: var(--rule); stroke-width: 1.5; }
iframe { width: 100%; height: min(80vh, 50rem); border: 1px solid var(--rule); border-radius: .4rem; }
details { margin: .5rem 0; }
summary { cursor: pointer; padding: .3rem 0; }
code { font-size: .85rem; overflow-wrap: anywhere; }
nav { margin-bottom: .5rem; }
footer { margin: 2.5rem 0 1rem; color: var(--faint); font-size: .85rem; }
[hidden] { display: none !important; }
@media (max-width: 40rem) {
  .matrix, .matrix tbody, .matrix tr, .matrix tbody th { display: block; max-width: none; }
  .matrix thead { display: none; }
  .matrix tr { padding: .6rem 0; border-bottom: 1px solid var(--rule); }
  .matrix th, .matrix td { border: 0; padding: .15rem .4rem .15rem 0; }
  .matrix td { display: inline-block; }
  .matrix td:empty { display: none; }
  .matrix .label { display: inline; font-weight: 400; font-size: .85rem; }
  .s { white-space: normal; }
  .matrix .s { min-height: 2rem; }
}
"""
)
