"""Names of agents, cores, rules, outer loops, objectives, recipes, trainings: where they are."""

from typing import Any, NamedTuple

AGENTS = {
    "cellular": "metarl.agents.cellular:cellular",
    "conv": "metarl.agents.conv:conv",
    "disco": "metarl.agents.disco:disco",
    "gru": "metarl.agents.gru:gru",
    "memory": "metarl.agents.memory:memory",
    "mlp": "metarl.agents.mlp:mlp",
    "nature": "metarl.agents.nature:nature",
    "tabular": "metarl.agents.tabular:tabular",
    "uniform": "metarl.agents.uniform:uniform",
}

CORES = {  # functions of two widths; see metarl.nets.core
    "delta": "metarl.nets.delta:delta",
    "fwp": "metarl.nets.delta:fwp",
    "gru": "metarl.nets.gru:gru_core",
    "gtrxl": "metarl.nets.gtrxl:gtrxl",
    "lru": "metarl.nets.linear_rnn:lru",
    "lstm": "metarl.nets.lstm:lstm_core",
    "mingru": "metarl.nets.linear_rnn:mingru",
    "none": "metarl.nets.core:memoryless",
    "srwm": "metarl.nets.srwm:srwm",
}

RULES = {  # modules with `heads(env)`, `hypers(...)` and the rule itself under its own name
    "a2c": "metarl.rules.a2c",
    "disco": "metarl.rules.disco",
    "dpo": "metarl.rules.dpo",
    "grpo": "metarl.rules.grpo",
    "lpg": "metarl.rules.lpg",
    "lpo": "metarl.rules.lpo",
    "outer_value": "metarl.rules.outer_value",
    "ppo": "metarl.rules.ppo",
    "q_lambda": "metarl.rules.q_lambda",
    "reinforce": "metarl.rules.reinforce",
    "stac": "metarl.rules.stac",
    "ta_lpg": "metarl.rules.ta_lpg",
    "ta_lpo": "metarl.rules.ta_lpo",
    "vtrace": "metarl.rules.vtrace",
}


class Published(NamedTuple):
    """A rule with weights of others, which do not come with the package."""

    rule: str  # a name in RULES, or a module like those there
    settings: dict[str, Any]  # its defaults, where they are not the rule's own
    agent: str  # that `auto` stands for
    options: dict[str, Any]  # defaults of that agent


PUBLISHED = {
    "disco103": Published("disco", {"weights": "disco103"}, "disco", {}),
    **{
        name: Published("metarl.rules.open_ppo", {"weights": name}, "mlp", {"separate": True})
        for name in (
            *("open-ant", "open-asterix", "open-breakout", "open-freeway"),
            *("open-gridworld", "open-multi", "open-spaceinvaders"),
        )
    },
}

OUTER_LOOPS = {  # functions of `metarl.outer.Inner`, whose keywords are the settings of `--outer`
    "bmg": "metarl.outer:bmg",
    "evolution": "metarl.outer:evolution",
    "forward": "metarl.outer:forward",
    "metagrad": "metarl.outer:metagrad",
    "persistent": "metarl.outer:persistent",
    "truncated": "metarl.outer:truncated",
}

OBJECTIVES = {  # functions of an agent, whose keywords are the settings of `--objective`
    "policy_gradient": "metarl.meta.objectives:policy_gradient",
    "stac_outer": "metarl.meta.objectives:stac_outer",
}

RECIPES = {  # see metarl.recipes.common
    "bmg_epsilon": "metarl.recipes.bmg_epsilon",
    "bmg_two_colours": "metarl.recipes.bmg_two_colours",
    "estimator_bias": "metarl.recipes.estimator_bias",
    "groove": "metarl.recipes.groove",
    "maml_cheetah": "metarl.recipes.maml_cheetah",
    "maml_navigation": "metarl.recipes.maml_navigation",
    "mrp_state_gamma": "metarl.recipes.mrp_state_gamma",
    "outer_value": "metarl.recipes.outer_value",
    "outer_value_snake": "metarl.recipes.outer_value_snake",
    "rl2_bandit": "metarl.recipes.rl2_bandit",
    "snake_mixing": "metarl.recipes.snake_mixing",
    "srwm_few_shot": "metarl.recipes.srwm_few_shot",
    "srwm_multitask": "metarl.recipes.srwm_multitask",
    "ta_lpg": "metarl.recipes.ta_lpg",
    "trials_hidden": "metarl.recipes.trials_hidden",
    "trials_minesweeper": "metarl.recipes.trials_minesweeper",
    "trials_sokoban": "metarl.recipes.trials_sokoban",
    "truncation_bias": "metarl.recipes.truncation_bias",
    "upgd": "metarl.recipes.upgd",
}

TRAININGS = {  # see metarl.trainings.common
    "disco": "metarl.trainings.disco",
    "groove": "metarl.trainings.groove",
    "lpg_grid": "metarl.trainings.lpg_grid",
    "lpo": "metarl.trainings.lpo",
    "ta_lpg": "metarl.trainings.ta_lpg",
    "ta_lpo": "metarl.trainings.ta_lpo",
}
