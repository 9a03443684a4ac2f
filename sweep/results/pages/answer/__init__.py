"""What whole strategies are worth: the page of `experiment=answer`, by `page` from `runs`."""
