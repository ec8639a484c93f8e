"""Splits that never cut a patient: searched for, or given; and the lists and tables that say what is in them."""
