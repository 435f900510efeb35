"""Risk owns the decision whether an order may go to a venue, the limits of users, and the watch over MTM."""
