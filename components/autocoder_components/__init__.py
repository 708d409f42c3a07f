"""The component packs that ship with autocoder; each imports only the public names of `autocoder`."""
