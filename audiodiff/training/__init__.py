"""The Lightning side: what is optimised, averaged, logged and previewed."""
