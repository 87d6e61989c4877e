"""What compare.py and network.py are asked for, read strictly: each a type for argparse."""

import argparse


def names_among(known, separator):
    """Names out of `known`."""

    def read(text):
        names = {name.strip() for name in text.split(separator)}
        if unknown := names - set(known):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(map(repr, sorted(unknown)))}; there are: "
                                             + f"{separator} ".join(known))
        return names

    return read


def at_least(least, kind):
    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"a number from {least} on is wanted, not {text!r}")
        return value

    return read
