"""What we decide: pure functions of settings, facts and the time that they are given."""
