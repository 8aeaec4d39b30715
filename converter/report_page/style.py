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
.cards {
  display: grid; gap: 1rem; margin-bottom: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr));
}
figure { margin: 0; padding: .5rem; background: var(--card); border-radius: .4rem; }
figcaption { font-size: .85rem; color: var(--faint); margin-top: .3rem; }
img { width: 100%; max-width: 24rem; height: auto; display: block; image-rendering: pixelated; }
svg { width: 100%; max-width: 30rem; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.axes { fill: none; stroke: var(--rule); }
.even { fill: none; stroke: var(--faint); stroke-dasharray: 4 3; }
.points {
  fill: none; stroke: var(--result); stroke-width: 3; stroke-linecap: round; stroke-opacity: .55;
}
.filled { fill: var(--source); stroke: none; }
.line { fill: none; stroke: var(--result); stroke-width: 1.3; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td {
  text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0;
  border-bottom: 1px solid var(--rule);
}
pre {
  background: var(--card); padding: .75rem; border-radius: .4rem; overflow-x: auto;
  font-size: .85rem; overflow-wrap: normal;
}
"""
