"""The window: pages, dialogs and item models over what ``casework`` answers. No rules, no SQL, no torch."""
