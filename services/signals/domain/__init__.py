"""What an alert says, whether its group may pass it on, and who may change a group. Pure."""
