"""The steps of `python -m data_utils.convert`: reading, copying, writing, and putting the result in place."""
