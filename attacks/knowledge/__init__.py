"""What an adversary knows or works out beside its view."""
