"""De-identified tables, k-anonymous: what they are still worth, and who is named from them."""
