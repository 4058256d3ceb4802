"""The forms of sign-in and passwords, in our words."""

from typing import Any

from allauth.account import forms

RULE = "At least 10 characters, no common password, nothing of your name or address."


class LoginForm(forms.LoginForm):  # type: ignore[misc]  # allauth has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = ""
        words(self, {"login": "E-mail", "password": "Password"})


class ResetPasswordForm(forms.ResetPasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        words(self, {"email": "E-mail"})


class ResetPasswordKeyForm(forms.ResetPasswordKeyForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        words(self, {"password1": "New password", "password2": "New password again"})
        self.fields["password1"].help_text = RULE


class ChangePasswordForm(forms.ChangePasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        words(self, {"oldpassword": "Current password", "password1": "New password", "password2": "New password again"})
        self.fields["oldpassword"].help_text = ""
        self.fields["password1"].help_text = RULE


class SetPasswordForm(forms.SetPasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        words(self, {"password1": "New password", "password2": "New password again"})
        self.fields["password1"].help_text = RULE


def words(form: Any, labels: dict[str, str]) -> None:
    """Labels stand above the fields; a placeholder would say the same and vanish."""
    for name, label in labels.items():
        form.fields[name].label = label
        form.fields[name].widget.attrs.pop("placeholder", None)
