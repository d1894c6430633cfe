"""Networks: plain torch modules, each built from one frozen config dataclass that stands in the same file."""
