"""The page's style sheet: light and dark, wide and narrow, nothing loaded."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark; --ink: #1d2127; --faint: #646b75; --paper: #fdfdfc; --card: #f3f4f2;
  --rule: #d5d8d4; --source: #8fb3d9; --result: #c2410c; --good: #15803d; --bad: #b91c1c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e8ea; --faint: #9aa2ad; --paper: #16181c; --card: #20242a; --rule: #3a4048;
    --source: #4b6f96; --result: #fb923c; --good: #4ade80; --bad: #f87171;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
.verdict { font-weight: 600; }
.passed { color: var(--good); }
.failed { color: var(--bad); }
.faint { color: var(--faint); }
.told { margin: .25rem 0 .5rem; font-size: .9rem; color: var(--faint); }
.frames, .plots, .outputs { display: grid; gap: .75rem; align-items: start; }
.frames { grid-template-columns: repeat(2, minmax(0, 1fr)); margin-bottom: 1rem; }
.plots { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.outputs { grid-template-columns: minmax(0, 1fr); gap: 1rem 1.5rem; }
@media (min-width: 60rem) {
  .frames { grid-template-columns: repeat(4, minmax(0, 1fr)); }
  .outputs { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
@media (max-width: 26rem) {
  .plots { grid-template-columns: minmax(0, 1fr); }
}
figure { margin: 0; padding: .5rem; background: var(--card); border-radius: .4rem; }
figcaption { font-size: .85rem; color: var(--faint); margin-top: .3rem; }
img { width: 100%; height: auto; display: block; }
.pixels { image-rendering: pixelated; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.axes { fill: none; stroke: var(--rule); }
.even { fill: none; stroke: var(--faint); stroke-dasharray: 4 3; }
.points {
  fill: none; stroke: var(--result); stroke-width: 3; stroke-linecap: round; stroke-opacity: .55;
}
.filled { fill: var(--source); stroke: none; }
.line { fill: none; stroke: var(--result); stroke-width: 1.3; }
.wide { overflow-x: auto; overflow-wrap: normal; }
.wide td, .facts td:first-child { white-space: nowrap; }
table { border-collapse: collapse; font-size: .9rem; }
ul { padding-left: 1.2rem; }
li { margin: .3rem 0; }
th, td {
  text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0;
  border-bottom: 1px solid var(--rule);
}
pre {
  background: var(--card); padding: .75rem; border-radius: .4rem; overflow-x: auto;
  font-size: .85rem; overflow-wrap: normal;
}
"""
