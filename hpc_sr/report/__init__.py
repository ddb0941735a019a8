"""What a run came to, for people: tables, figures and one page. Reads files only."""
