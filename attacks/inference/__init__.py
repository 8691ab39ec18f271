"""What is inferred beside whole records: membership, attributes, properties of a hospital."""
