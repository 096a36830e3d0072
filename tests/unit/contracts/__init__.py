"""What every implementation of a role must pass: a new part inherits one class and gets all checks."""
