"""What studies of many training runs share: their directory, their database, and who works on them.

``place`` is the directory and the settings in it, ``members`` the workers that are alive, ``database``
opens Optuna's storage, ``processes`` starts workers on this machine.
"""
