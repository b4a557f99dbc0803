from beartype import BeartypeConf, beartype

# As for mypy, a whole number will do where a float is asked for.
typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
