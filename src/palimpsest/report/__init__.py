"""The reports of diagnoses and laboratory runs: pages, figures and tables. No science in here."""
