"""Experiments that are run once in a while. They import the library; nothing imports them."""
