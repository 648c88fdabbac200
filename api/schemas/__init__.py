"""The shapes of requests and answers, one file per resource; OpenAPI is made from them."""
