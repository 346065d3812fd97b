"""The admin REST API, `/admin/v1`: one module a resource, thin over catalogue, accounts and ledger."""
