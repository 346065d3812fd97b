"""What a client's body may say, checked before money moves: the fields of every model, and the rules of model families."""
