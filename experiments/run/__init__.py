"""How any study is run: its points are swept, its records written once, its figures saved."""
