"""Teaching panels: original, stylised and labels side by side, as PNG, PDF and web page."""
