"""Planning towards goals with an action-conditioned world model (V-JEPA 2, section 4)."""
