"""How the repairs of other papers train: `descent.py` is the course that most of them share."""
