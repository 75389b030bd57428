"""What the scripts of the recipes have in common."""
