"""Exact players: what perfect inference, or a known optimum, reaches on a task. Yardsticks.

Each is a `metarl.types.Agent` without parameters whose heads are the logits of what it would play,
equal where it does not care: `metarl.evaluate.evaluate(player, env, {}, env_params, key, ...)`
plays it as it plays any agent, in trials (`metarl.wrappers.trial`) too.

  bandits.py        Thompson sampling, UCB1, the Gittins index, the Bayes-optimal player
  gittins.py        tables of the Gittins index, by dynamic programming
  minesweeper.py    the posterior over all placements of the mines, with memory across attempts
  placements.py     all placements, and the bound that a limit of turns sets on every player
  sokoban.py        what a breadth-first optimum returns
"""
