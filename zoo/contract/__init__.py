"""What is asked of a model/guide pair: the laws, the case they judge, and what they find."""
