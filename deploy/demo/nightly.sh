#!/bin/sh
# A nightly script as anyone has one. It knows nothing of Chaperone.
psql -X "$1" -c "SELECT * FROM customers ORDER BY id"
psql -X "$1" -c "DROP TABLE customers" 2>&1
psql -X "$1" -c "DROP TABLE carts_2025" 2>&1
exit 0
