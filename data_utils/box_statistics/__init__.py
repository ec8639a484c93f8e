"""What `python -m data_utils.box_stats` is made of: clustering, the numbers, the pictures."""
