"""The worlds that physical consistency is scored on; none of them is in the training mix."""
