"""Stop a training whose end would be beaten: the settings, the rule, and what stopping cost."""
