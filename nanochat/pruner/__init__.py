"""When a study gives a trial up before its end, one file for each of Optuna's pruners."""
