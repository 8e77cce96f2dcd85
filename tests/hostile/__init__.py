"""The hostile tenant and the hostile client: what one number or one caller must not do to the others."""
