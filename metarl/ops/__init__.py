"""Pure maths on single sequences and single draws. Nothing here knows agents or environments."""
