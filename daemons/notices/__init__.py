"""What send_notices is made of: following the events, what they mean to a person, what waits to be sent, and sending it."""
