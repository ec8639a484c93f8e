"""What `python -m data_utils.audit` is made of: `leaks.py` and `label_checks.py` judge, the other modules are tools."""
