"""Numbers -> page: findings and a verdict in plain words, curves, pictures, cards."""
