"""Classes: logistic and multinomial regression with learned penalties."""
