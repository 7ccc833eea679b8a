"""HTTP: the doors of both servers, the client of the daemons, the words that the oracle and its clients exchange."""
