"""What attackers and accidents will try, row by row of docs/security.md."""
