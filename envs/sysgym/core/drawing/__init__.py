"""What the pictures of several problems share."""
