"""``python -m rgcam.data``: a contact sheet of augmented clips."""

from rgcam import cli, contact_sheet

cli.run(contact_sheet.main)
