"""The only owner of money: grants, holds, entries, and the proof that they add up."""
