"""Fitting of heads of kind `bank`, in closed form."""
